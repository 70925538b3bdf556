-- One row is a rider of the dimension file with at least as many deliveries as the average one, the fastest first: a
-- single quick delivery says nothing, and a rider that only orders name has nothing to show but a number.
with per_rider as (
    select
        riders.rider_id,
        riders.rider_name as rider,
        riders.rider_vehicle_type as vehicle,
        count(*) as deliveries,
        cast(avg(cast(fact.delivery_minutes as decimal(8, 2))) as decimal(8, 1)) as average_minutes
    from fact_orders as fact
    join dim_delivery_riders as riders on riders.rider_id = fact.rider_id and riders.is_current
    where fact.order_status = 'Delivered' and fact.delivery_minutes is not null and not riders.is_inferred
    group by 1, 2, 3
)
select rider_id, rider, vehicle, deliveries, average_minutes
from per_rider
where deliveries * (select count(*) from per_rider) >= (select sum(deliveries) from per_rider)
order by average_minutes, deliveries desc, rider_id
limit 10
