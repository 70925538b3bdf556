-- One row is a rider with the mean time of the orders delivered, the fastest first.
select
    fact.rider_id,
    coalesce(riders.rider_name, 'unknown') as rider,
    coalesce(riders.rider_vehicle_type, 'unknown') as vehicle,
    count(*) as deliveries,
    cast(avg(cast(fact.delivery_minutes as decimal(8, 2))) as decimal(8, 1)) as average_minutes
from fact_orders as fact
left join dim_delivery_riders as riders on riders.rider_id = fact.rider_id and riders.is_current
where fact.order_status = 'Delivered' and fact.delivery_minutes is not null
group by 1, 2, 3
order by average_minutes, fact.rider_id
limit 10
